// Logs and Application Insights, written to and read by identity alone. Alerts come with the telemetry that they ask.

@description('Region.')
param location string

@description('Ends the names of all resources of this installation.')
param suffix string

@description('Tags of all resources.')
param tags object

@description('Object id of id-func.')
param funcPrincipalId string

@description('Object id of the group of operators; empty: none.')
param operatorsGroupId string

@description('Days that logs are kept.')
@minValue(30)
@maxValue(730)
param logsDays int

@description('GB of logs a day, after which no more are taken until the next day.')
@minValue(1)
param logsCapGb int

var roles = loadJsonContent('../roles.json').roles

resource logs 'Microsoft.OperationalInsights/workspaces@2025-07-01' = {
  name: 'log-${suffix}'
  location: location
  tags: tags
  properties: {
    sku: { name: 'PerGB2018' }
    retentionInDays: logsDays
    workspaceCapping: { dailyQuotaGb: logsCapGb }
    features: { disableLocalAuth: true }
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: 'appi-${suffix}'
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: logs.id
    DisableLocalAuth: true
  }
}

resource func_metricsPublisher_insights 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(insights.id, funcPrincipalId, roles.metricsPublisher.guid)
  scope: insights
  properties: {
    principalId: funcPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.metricsPublisher.guid)
  }
}

resource operators_logReader_logs 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(operatorsGroupId)) {
  name: guid(logs.id, operatorsGroupId, roles.logReader.guid)
  scope: logs
  properties: {
    principalId: operatorsGroupId
    principalType: 'Group'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.logReader.guid)
  }
}

resource operators_reader_group 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(operatorsGroupId)) {
  name: guid(resourceGroup().id, operatorsGroupId, roles.reader.guid)
  properties: {
    principalId: operatorsGroupId
    principalType: 'Group'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.reader.guid)
  }
}

@description('Name of Application Insights.')
output insightsName string = insights.name

@description('Resource id of Application Insights.')
output insightsId string = insights.id

@description('Resource id of the Log Analytics workspace.')
output logsId string = logs.id
