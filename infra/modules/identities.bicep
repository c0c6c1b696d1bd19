// The two identities. They are user-assigned, so that their roles are there before anything runs as them.

@description('Region.')
param location string

@description('Ends the names of all resources of this installation.')
param suffix string

@description('Tags of all resources.')
param tags object

@description('The app may give id-train to clusters that it makes.')
param appMakesClusters bool

var roles = loadJsonContent('../roles.json').roles

resource idFunc 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: 'id-func-${suffix}'
  location: location
  tags: tags
}

resource idTrain 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: 'id-train-${suffix}'
  location: location
  tags: tags
}

resource func_identityOperator_idTrain 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (appMakesClusters) {
  name: guid(idTrain.id, idFunc.id, roles.identityOperator.guid)
  scope: idTrain
  properties: {
    principalId: idFunc.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.identityOperator.guid)
  }
}

@description('Name of the identity of the Function App.')
output funcName string = idFunc.name

@description('Object id of id-func.')
output funcPrincipalId string = idFunc.properties.principalId

@description('Resource id of id-train.')
output trainId string = idTrain.id

@description('Object id of id-train.')
output trainPrincipalId string = idTrain.properties.principalId
