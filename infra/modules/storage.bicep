// The account of the app: what people upload, what Droptune makes and remembers, its queues, and its package.

@description('Region.')
param location string

@description('Name of the account.')
@minLength(3)
@maxLength(24)
param name string

@description('Tags of all resources.')
param tags object

@description('How often, and where, everything is kept.')
param redundancy string

@description('Days after which prepared data and reports of a run are deleted.')
param preparedDays int

@description('Object id of id-func.')
param funcPrincipalId string

@description('Object id of id-train.')
param trainPrincipalId string

@description('Object id of the system identity of the Azure ML workspace.')
param workspacePrincipalId string

@description('Object id of the group that may upload; empty: none.')
param uploadersGroupId string

var roles = loadJsonContent('../roles.json').roles

// What fails too often in a queue goes to its poison queue. Event Grid and the app need them before the host makes them.
var queues = [
  'dataset-events'
  'dataset-events-poison'
  'job-events'
  'job-events-poison'
  'prepare'
  'prepare-poison'
  'run-steps'
  'run-steps-poison'
]

resource app 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: { name: redundancy }
  properties: {
    accessTier: 'Hot'
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: 'Enabled'
    networkAcls: { bypass: 'AzureServices', defaultAction: 'Allow' }
    // Hierarchical namespaces raise other events for renamed files.
    isHnsEnabled: false
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' = {
  parent: app
  name: 'default'
  properties: {
    deleteRetentionPolicy: { enabled: true, days: 7 }
    containerDeleteRetentionPolicy: { enabled: true, days: 7 }
  }
}

resource datasets 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = {
  parent: blobs
  name: 'datasets'
  properties: { publicAccess: 'None' }
}

resource prepared 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = {
  parent: blobs
  name: 'prepared'
  properties: { publicAccess: 'None' }
}

resource state 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = {
  parent: blobs
  name: 'state'
  properties: { publicAccess: 'None' }
}

resource deadletter 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = {
  parent: blobs
  name: 'deadletter'
  properties: { publicAccess: 'None' }
}

resource package 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = {
  parent: blobs
  name: 'app-package'
  properties: { publicAccess: 'None' }
}

resource queueService 'Microsoft.Storage/storageAccounts/queueServices@2025-06-01' = {
  parent: app
  name: 'default'
}

resource queue 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01' = [for each in queues: {
  parent: queueService
  name: each
}]

resource expiry 'Microsoft.Storage/storageAccounts/managementPolicies@2025-06-01' = {
  parent: app
  name: 'default'
  properties: {
    policy: {
      rules: [
        {
          name: 'prepared'
          enabled: true
          type: 'Lifecycle'
          definition: {
            filters: { blobTypes: ['blockBlob'], prefixMatch: ['prepared/'] }
            actions: { baseBlob: { delete: { daysAfterModificationGreaterThan: preparedDays } } }
          }
        }
      ]
    }
  }
  dependsOn: [blobs]
}

resource func_blobOwner_app 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(app.id, funcPrincipalId, roles.blobOwner.guid)
  scope: app
  properties: {
    principalId: funcPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.blobOwner.guid)
  }
}

resource func_queueContributor_app 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(app.id, funcPrincipalId, roles.queueContributor.guid)
  scope: app
  properties: {
    principalId: funcPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.queueContributor.guid)
  }
}

resource func_tableContributor_app 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(app.id, funcPrincipalId, roles.tableContributor.guid)
  scope: app
  properties: {
    principalId: funcPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.tableContributor.guid)
  }
}

resource train_blobReader_datasets 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(datasets.id, trainPrincipalId, roles.blobReader.guid)
  scope: datasets
  properties: {
    principalId: trainPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.blobReader.guid)
  }
}

resource train_blobContributor_prepared 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(prepared.id, trainPrincipalId, roles.blobContributor.guid)
  scope: prepared
  properties: {
    principalId: trainPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.blobContributor.guid)
  }
}

resource workspace_blobReader_datasets 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(datasets.id, workspacePrincipalId, roles.blobReader.guid)
  scope: datasets
  properties: {
    principalId: workspacePrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.blobReader.guid)
  }
}

resource workspace_blobReader_prepared 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(prepared.id, workspacePrincipalId, roles.blobReader.guid)
  scope: prepared
  properties: {
    principalId: workspacePrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.blobReader.guid)
  }
}

// On the container, never on the account: the host keeps its function keys in the account, too.
resource uploaders_blobContributor_datasets 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(uploadersGroupId)) {
  name: guid(datasets.id, uploadersGroupId, roles.blobContributor.guid)
  scope: datasets
  properties: {
    principalId: uploadersGroupId
    principalType: 'Group'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.blobContributor.guid)
  }
}

@description('Name of the account.')
output name string = app.name

@description('Resource id of the account.')
output id string = app.id

@description('Where datasets are dropped.')
output datasetsUrl string = '${app.properties.primaryEndpoints.blob}${datasets.name}'
