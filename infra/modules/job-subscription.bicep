// Ends of jobs into a queue. The topic is the workspace's, and lies in its group; the queue lies in the app's.

@description('Ends the names of all resources of this installation.')
param suffix string

@description('Name of the system topic of the workspace.')
param topicName string

@description('Resource id of the storage account of the app.')
param storageId string

resource jobTopic 'Microsoft.EventGrid/systemTopics@2025-02-15' existing = {
  name: topicName
}

// No filter on data.runType: some events have none, and would be lost. The app knows its runs by their ids.
resource jobSubscription 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = {
  parent: jobTopic
  name: 'droptune-${suffix}'
  properties: {
    eventDeliverySchema: 'EventGridSchema'
    deliveryWithResourceIdentity: {
      identity: { type: 'SystemAssigned' }
      destination: {
        endpointType: 'StorageQueue'
        properties: { resourceId: storageId, queueName: 'job-events', queueMessageTimeToLiveInSeconds: 604800 }
      }
    }
    deadLetterWithResourceIdentity: {
      identity: { type: 'SystemAssigned' }
      deadLetterDestination: {
        endpointType: 'StorageBlob'
        properties: { resourceId: storageId, blobContainerName: 'deadletter' }
      }
    }
    retryPolicy: { eventTimeToLiveInMinutes: 1440, maxDeliveryAttempts: 30 }
    filter: {
      includedEventTypes: [
        'Microsoft.MachineLearningServices.RunCompleted'
        'Microsoft.MachineLearningServices.RunStatusChanged'
      ]
    }
  }
}
