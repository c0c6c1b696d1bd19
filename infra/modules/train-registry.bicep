// Nodes pull images from the workspace's registry as id-train. It may lie in a group of its own.

@description('Name of the registry.')
param name string

@description('Object id of id-train.')
param trainPrincipalId string

var roles = loadJsonContent('../roles.json').roles

resource registry 'Microsoft.ContainerRegistry/registries@2025-04-01' existing = {
  name: name
}

resource train_imagePuller_registry 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(registry.id, trainPrincipalId, roles.imagePuller.guid)
  scope: registry
  properties: {
    principalId: trainPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.imagePuller.guid)
  }
}
