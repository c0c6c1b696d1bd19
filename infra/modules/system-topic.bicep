// The events of one resource. A resource has one system topic at most, so that one that is there is taken as it is.

@description('Region of the resource.')
param location string

@description('Name of the topic, unless there is one.')
param name string

@description('Name of a topic that is there already; it needs a system identity. Empty: one is made.')
param existingName string

@description('Tags of all resources.')
param tags object

@description('Resource id of what raises the events.')
param source string

@description('Kind of that resource, as Event Grid calls it.')
@allowed(['Microsoft.Storage.StorageAccounts', 'Microsoft.MachineLearningServices.Workspaces'])
param topicType string

var isNew = empty(existingName)

resource made 'Microsoft.EventGrid/systemTopics@2025-02-15' = if (isNew) {
  name: name
  location: location
  tags: tags
  identity: { type: 'SystemAssigned' }
  properties: { source: source, topicType: topicType }
}

resource found 'Microsoft.EventGrid/systemTopics@2025-02-15' existing = if (!isNew) {
  name: isNew ? name : existingName
}

@description('Name of the topic.')
output name string = isNew ? made!.name : found!.name

@description('Object id of the system identity of the topic.')
output principalId string = isNew ? made!.identity.principalId : found!.identity.principalId
