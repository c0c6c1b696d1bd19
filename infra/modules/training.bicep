// What Droptune needs inside the workspace: its datastores, and its own roles there.

@description('Name of the workspace.')
param workspaceName string

@description('Object id of id-func.')
param funcPrincipalId string

@description('Name of the storage account of the app.')
param storageName string

@description('Resource group of the storage account of the app.')
param storageGroup string

@description('The app may make clusters that are missing.')
param appMakesClusters bool

var roles = loadJsonContent('../roles.json').roles

resource workspace 'Microsoft.MachineLearningServices/workspaces@2025-09-01' existing = {
  name: workspaceName
}

// Without credentials: jobs reach the data as their cluster's identity, the studio as the workspace's.
resource datasets 'Microsoft.MachineLearningServices/workspaces/datastores@2025-09-01' = {
  parent: workspace
  name: 'datasets'
  properties: {
    datastoreType: 'AzureBlob'
    description: 'What people drop for Droptune.'
    accountName: storageName
    containerName: 'datasets'
    endpoint: environment().suffixes.storage
    protocol: 'https'
    credentials: { credentialsType: 'None' }
    serviceDataAccessAuthIdentity: 'WorkspaceSystemAssignedIdentity'
    subscriptionId: subscription().subscriptionId
    resourceGroup: storageGroup
  }
}

resource prepared 'Microsoft.MachineLearningServices/workspaces/datastores@2025-09-01' = {
  parent: workspace
  name: 'prepared'
  properties: {
    datastoreType: 'AzureBlob'
    description: 'What Droptune trains on.'
    accountName: storageName
    containerName: 'prepared'
    endpoint: environment().suffixes.storage
    protocol: 'https'
    credentials: { credentialsType: 'None' }
    serviceDataAccessAuthIdentity: 'WorkspaceSystemAssignedIdentity'
    subscriptionId: subscription().subscriptionId
    resourceGroup: storageGroup
  }
}

resource func_dataScientist_workspace 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(workspace.id, funcPrincipalId, roles.dataScientist.guid)
  scope: workspace
  properties: {
    principalId: funcPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.dataScientist.guid)
  }
}

resource func_reader_workspace 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(workspace.id, funcPrincipalId, roles.reader.guid)
  scope: workspace
  properties: {
    principalId: funcPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.reader.guid)
  }
}

resource func_computeOperator_workspace 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (appMakesClusters) {
  name: guid(workspace.id, funcPrincipalId, roles.computeOperator.guid)
  scope: workspace
  properties: {
    principalId: funcPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.computeOperator.guid)
  }
}
