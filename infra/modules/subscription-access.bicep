// What Azure answers at the subscription's scope alone: sizes, quotas, metrics, and why a deployment failed.
targetScope = 'subscription'

@description('Which role the app gets there.')
@allowed(['monitoring-reader', 'custom', 'none'])
param access string

@description('Name of the resource group of the app: one custom role for each installation.')
param groupName string

@description('Object id of id-func.')
param funcPrincipalId string

var roles = loadJsonContent('../roles.json').roles

resource func_monitoringReader_subscription 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (access == 'monitoring-reader') {
  name: guid(subscription().id, funcPrincipalId, roles.monitoringReader.guid)
  properties: {
    principalId: funcPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.monitoringReader.guid)
  }
}

resource watcher 'Microsoft.Authorization/roleDefinitions@2022-04-01' = if (access == 'custom') {
  name: guid(subscription().id, groupName, roles.watcher.name)
  properties: {
    type: 'CustomRole'
    roleName: '${roles.watcher.name} (${groupName})'
    description: roles.watcher.description
    assignableScopes: [subscription().id]
    permissions: [
      {
        actions: roles.watcher.actions
        notActions: roles.watcher.notActions
        dataActions: roles.watcher.dataActions
        notDataActions: roles.watcher.notDataActions
      }
    ]
  }
}

resource func_watcher_subscription 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (access == 'custom') {
  name: guid(subscription().id, funcPrincipalId, roles.watcher.name)
  properties: {
    principalId: funcPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: watcher.id
  }
}
