// Events: uploads into a queue, what could not be delivered into a container, and the topic that tells others of runs.

@description('Region.')
param location string

@description('Ends the names of all resources of this installation.')
param suffix string

@description('Tags of all resources.')
param tags object

@description('Name of the storage account of the app.')
param storageName string

@description('Name of the system topic of that account.')
param datasetTopicName string

@description('Object id of the system identity of that topic.')
param datasetTopicPrincipalId string

@description('Object id of the system identity of the topic of the workspace.')
param jobTopicPrincipalId string

@description('Object id of id-func.')
param funcPrincipalId string

var roles = loadJsonContent('../roles.json').roles

resource app 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: storageName
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' existing = {
  parent: app
  name: 'default'
}

resource deadletter 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' existing = {
  parent: blobs
  name: 'deadletter'
}

resource queueService 'Microsoft.Storage/storageAccounts/queueServices@2025-06-01' existing = {
  parent: app
  name: 'default'
}

resource datasetEvents 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01' existing = {
  parent: queueService
  name: 'dataset-events'
}

resource jobEvents 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01' existing = {
  parent: queueService
  name: 'job-events'
}

resource datasetTopic_queueSender_datasetEvents 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(datasetEvents.id, datasetTopicPrincipalId, roles.queueSender.guid)
  scope: datasetEvents
  properties: {
    principalId: datasetTopicPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.queueSender.guid)
  }
}

resource datasetTopic_blobContributor_deadletter 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(deadletter.id, datasetTopicPrincipalId, roles.blobContributor.guid)
  scope: deadletter
  properties: {
    principalId: datasetTopicPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.blobContributor.guid)
  }
}

resource jobTopic_queueSender_jobEvents 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(jobEvents.id, jobTopicPrincipalId, roles.queueSender.guid)
  scope: jobEvents
  properties: {
    principalId: jobTopicPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.queueSender.guid)
  }
}

resource jobTopic_blobContributor_deadletter 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(deadletter.id, jobTopicPrincipalId, roles.blobContributor.guid)
  scope: deadletter
  properties: {
    principalId: jobTopicPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.blobContributor.guid)
  }
}

resource datasetTopic 'Microsoft.EventGrid/systemTopics@2025-02-15' existing = {
  name: datasetTopicName
}

// Without its roles Event Grid gets a 403, which it does not try again for long.
resource datasetSubscription 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = {
  parent: datasetTopic
  name: 'droptune-${suffix}'
  properties: {
    eventDeliverySchema: 'EventGridSchema'
    deliveryWithResourceIdentity: {
      identity: { type: 'SystemAssigned' }
      destination: {
        endpointType: 'StorageQueue'
        properties: { resourceId: app.id, queueName: datasetEvents.name, queueMessageTimeToLiveInSeconds: 604800 }
      }
    }
    deadLetterWithResourceIdentity: {
      identity: { type: 'SystemAssigned' }
      deadLetterDestination: {
        endpointType: 'StorageBlob'
        properties: { resourceId: app.id, blobContainerName: deadletter.name }
      }
    }
    retryPolicy: { eventTimeToLiveInMinutes: 1440, maxDeliveryAttempts: 30 }
    filter: {
      includedEventTypes: ['Microsoft.Storage.BlobCreated']
      // Without /blobs/ it would also match containers whose names begin like this one's.
      subjectBeginsWith: '/blobServices/default/containers/datasets/blobs/'
      isSubjectCaseSensitive: false
      enableAdvancedFilteringOnArrays: true
      // Calls after which a file is whole.
      advancedFilters: [
        {
          operatorType: 'StringIn'
          key: 'data.api'
          values: ['PutBlob', 'PutBlockList', 'CopyBlob', 'FlushWithClose', 'SftpCommit']
        }
      ]
    }
  }
  dependsOn: [datasetTopic_queueSender_datasetEvents, datasetTopic_blobContributor_deadletter]
}

// The app sends CloudEvents; a topic of the default schema refuses them.
resource lifecycle 'Microsoft.EventGrid/topics@2025-02-15' = {
  name: 'evgt-lifecycle-${suffix}'
  location: location
  tags: tags
  // Not ours to use: with it, whoever subscribes can have events delivered without a key.
  identity: { type: 'SystemAssigned' }
  properties: {
    inputSchema: 'CloudEventSchemaV1_0'
    disableLocalAuth: true
    minimumTlsVersionAllowed: '1.2'
    publicNetworkAccess: 'Enabled'
  }
}

resource func_eventSender_lifecycle 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(lifecycle.id, funcPrincipalId, roles.eventSender.guid)
  scope: lifecycle
  properties: {
    principalId: funcPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.eventSender.guid)
  }
}

@description('Where the app sends lifecycle events.')
output lifecycleEndpoint string = lifecycle.properties.endpoint

@description('Resource id of the topic of lifecycle events, to subscribe to.')
output lifecycleId string = lifecycle.id
