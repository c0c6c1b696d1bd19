// Jobs read and write the workspace's default storage account as id-train. It may lie in a group of its own.

@description('Name of the account.')
param name string

@description('Object id of id-train.')
param trainPrincipalId string

var roles = loadJsonContent('../roles.json').roles

resource aml 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: name
}

resource train_blobContributor_aml 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(aml.id, trainPrincipalId, roles.blobContributor.guid)
  scope: aml
  properties: {
    principalId: trainPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.blobContributor.guid)
  }
}
