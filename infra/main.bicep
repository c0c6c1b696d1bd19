// Droptune in a resource group of its own: `azd up`. Whoever deploys may deploy to the subscription and assign roles.
targetScope = 'subscription'

@description('Name of this installation. The group is called rg-<name>.')
@minLength(1)
@maxLength(64)
param environmentName string

@description('Region. Flex Consumption, Azure ML and the GPU size, with quota for it, must all be there.')
@minLength(1)
@metadata({ azd: { type: 'location' } })
param location string

@description('More tags for all resources.')
param tags object = {}

// Training and serving ------------------------------------------------------------------------------------------------

@description('Base model when finetune.yaml names none.')
@minLength(1)
param baseModel string = 'Phi-4'

@description('VM size of the cluster that trains. A cluster that is there keeps its size: delete it first.')
@allowed([
  'Standard_NC24ads_A100_v4'
  'Standard_NC48ads_A100_v4'
  'Standard_NC96ads_A100_v4'
  'Standard_NC40ads_H100_v5'
  'Standard_NC80adis_H100_v5'
  'Standard_ND96asr_v4'
  'Standard_ND96amsr_A100_v4'
  'Standard_ND96isr_H100_v5'
])
param finetuneSize string = 'Standard_NC24ads_A100_v4'

@description('Nodes of one job.')
@minValue(1)
@maxValue(16)
param finetuneNodes int = 1

@description('VM size of the cluster that prepares: 32 GB of memory, and a local disk of twice the model.')
@minLength(1)
param preprocessSize string = 'Standard_E8ds_v5'

@description('VM size of a deployment.')
@allowed([
  'Standard_NC24ads_A100_v4'
  'Standard_NC48ads_A100_v4'
  'Standard_NC96ads_A100_v4'
  'Standard_NC40ads_H100_v5'
  'Standard_NC80adis_H100_v5'
  'Standard_ND96asr_v4'
  'Standard_ND96amsr_A100_v4'
  'Standard_ND96isr_H100_v5'
])
param servingSize string = 'Standard_NC24ads_A100_v4'

@description('Instances of a deployment.')
@minValue(1)
@maxValue(20)
param servingInstances int = 1

@description('Price of an instance of a deployment an hour, as in 3.67. Empty: that of the public price list. 0 is a price, too.')
@maxLength(20)
param servingPricePerHour string = ''

@description('Jobs that train at once; others wait. The clusters get this times finetuneNodes as their maximum.')
@minValue(1)
@maxValue(20)
param maxActiveJobs int = 2

@description('Jobs that are started in any 24 hours; others wait.')
@minValue(1)
@maxValue(1000)
param maxJobsPerDay int = 20

@description('Lines that serve, or train for that, at once; the runs of others wait.')
@minValue(1)
param maxLiveEndpoints int = 5

@description('Hours after which a job is cancelled, from when its fine-tune step runs.')
@minValue(1)
@maxValue(168)
param maxTrainingHours int = 24

@description('Endpoints that nobody calls: only reported, or deleted. Read some reports before you choose deletion.')
@allowed(['report', 'delete'])
param cleanupMode string = 'report'

@description('Tags for all that the app itself makes in the workspace, as in costCenter=42,owner=ml team, where a policy wants them.')
@maxLength(8000)
param resourceTags string = ''

// The workspace -------------------------------------------------------------------------------------------------------

@description('Name of a workspace that is there already, in this subscription, with a system identity. Empty: one is made. In it, datastores called datasets and prepared are made or overwritten.')
@maxLength(33)
param existingWorkspace string = ''

@description('Resource group of that workspace. `azd down` would delete it too: take such an installation down by hand.')
@maxLength(90)
param existingWorkspaceGroup string = ''

@description('Resource id of the default storage account of that workspace, where id-train gets Storage Blob Data Contributor. Empty: you assign it.')
param existingWorkspaceStorageId string = ''

@description('Resource id of the registry of that workspace, where id-train gets AcrPull. Empty: it has none yet, or you assign it.')
param existingWorkspaceRegistryId string = ''

@description('Name of the system topic of that workspace, with a system identity, if it has one: there can be no second.')
param existingJobTopic string = ''

@description('Name of the system topic of the app\'s storage account, with a system identity, if something else has made one, as Defender for Storage does.')
param existingDatasetTopic string = ''

@description('Make both clusters. Otherwise they are there, and id-train is their first user-assigned identity: jobs run as that one.')
param makeClusters bool = true

@description('Name of the cluster that trains.')
@minLength(3)
@maxLength(24)
param gpuCluster string = 'gpu-cluster'

@description('Name of the cluster that prepares.')
@minLength(3)
@maxLength(24)
param cpuCluster string = 'cpu-cluster'

@description('The app itself may make clusters that are missing; it gets two more roles for it.')
param appMakesClusters bool = false

// People and access ---------------------------------------------------------------------------------------------------

@description('What the app may read of the subscription: everything but secrets (monitoring-reader), seven things (custom; needs the right to define roles), or nothing. With nothing, no run gets past its plan, and nothing idle is found.')
@allowed(['monitoring-reader', 'custom', 'none'])
param subscriptionAccess string = 'monitoring-reader'

@description('Object id of the Entra group that may drop datasets. Empty: you give that role.')
@maxLength(36)
param uploadersGroupId string = ''

@description('Object id of the Entra group that reads resources and logs, and with apiAuth entra may retry, approve and roll back.')
@maxLength(36)
param operatorsGroupId string = ''

@description('Object id of the Entra group that may look, with apiAuth entra.')
@maxLength(36)
param viewersGroupId string = ''

@description('Who may call the app: holders of a function key, or members of the two groups, after a login.')
@allowed(['key', 'entra'])
param apiAuth string = 'key'

@description('Client id of the app registration, with apiAuth entra. It has no secret, but a federated credential for id-func.')
@maxLength(36)
param authClientId string = ''

// Money ---------------------------------------------------------------------------------------------------------------

@description('Budget a month for the group of the workspace, in the currency of the subscription. 0: none. It warns, and stops nothing.')
@minValue(0)
param budgetAmount int = 0

@description('First day of a month, this one or a later one, as in 2027-01-01. Needed for a budget, and fixed for good.')
@maxLength(10)
param budgetStart string = ''

@description('Mail addresses that hear of the budget, with commas between them.')
param budgetContacts string = ''

@description('How storage is kept: in one datacenter, in three zones, or in another region as well. Not every region has zones.')
@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS', 'Standard_GZRS'])
param storageRedundancy string = 'Standard_ZRS'

@description('Days after which prepared data of a run are deleted. An older version can\'t be compared, nor brought back through the gate.')
@minValue(30)
@maxValue(3650)
param preparedDays int = 365

@description('Days that logs are kept; more than 31 cost extra.')
@minValue(30)
@maxValue(730)
param logsDays int = 30

@description('GB of logs a day, after which no more are taken until the next day.')
@minValue(1)
@maxValue(100)
param logsCapGb int = 1

@description('Memory of an instance of the app; its CPU goes with it.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 2048

@description('Instances of the app at most, of each queue, each timer, and of HTTP.')
@minValue(40)
@maxValue(1000)
param maximumInstances int = 40

var suffix = uniqueString(subscription().id, environmentName, location)
var groupName = 'rg-${environmentName}'
var allTags = union(tags, { 'azd-env-name': environmentName })

var isNew = empty(existingWorkspace)
var workspaceGroup = isNew ? groupName : existingWorkspaceGroup
var amlStorageName = 'staml${suffix}'
var registryName = 'cr${suffix}'
var ownGroupId = '${subscription().id}/resourceGroups/${groupName}'
var ownStorageId = '${ownGroupId}/providers/Microsoft.Storage/storageAccounts/${amlStorageName}'
var ownRegistryId = '${ownGroupId}/providers/Microsoft.ContainerRegistry/registries/${registryName}'
var trainStorageParts = split(empty(existingWorkspaceStorageId) ? ownStorageId : existingWorkspaceStorageId, '/')
var trainRegistryParts = split(empty(existingWorkspaceRegistryId) ? ownRegistryId : existingWorkspaceRegistryId, '/')

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: groupName
  location: location
  tags: allTags
}

module identities 'modules/identities.bicep' = {
  name: 'identities-${suffix}'
  scope: group
  params: {
    location: location
    suffix: suffix
    tags: allTags
    appMakesClusters: appMakesClusters
  }
}

module observability 'modules/observability.bicep' = {
  name: 'observability-${suffix}'
  scope: group
  params: {
    location: location
    suffix: suffix
    tags: allTags
    funcPrincipalId: identities.outputs.funcPrincipalId
    operatorsGroupId: operatorsGroupId
    logsDays: logsDays
    logsCapGb: logsCapGb
  }
}

module workspace 'modules/workspace.bicep' = if (isNew) {
  name: 'workspace-${suffix}'
  scope: group
  params: {
    location: location
    suffix: suffix
    tags: allTags
    storageName: amlStorageName
    registryName: registryName
    redundancy: storageRedundancy
    insightsId: observability.outputs.insightsId
  }
}

module foundWorkspace 'modules/existing-workspace.bicep' = if (!isNew) {
  name: 'existing-${suffix}'
  scope: resourceGroup(workspaceGroup)
  params: { name: existingWorkspace }
}

var workspaceName = isNew ? workspace!.outputs.name : foundWorkspace!.outputs.name
var workspaceId = isNew ? workspace!.outputs.id : foundWorkspace!.outputs.id
var workspaceLocation = isNew ? workspace!.outputs.location : foundWorkspace!.outputs.location
var workspacePrincipalId = isNew ? workspace!.outputs.principalId : foundWorkspace!.outputs.principalId

module trainStorage 'modules/train-storage.bicep' = if (isNew || !empty(existingWorkspaceStorageId)) {
  name: 'train-storage-${suffix}'
  scope: resourceGroup(trainStorageParts[2], trainStorageParts[4])
  params: {
    name: trainStorageParts[8]
    trainPrincipalId: identities.outputs.trainPrincipalId
  }
  dependsOn: [workspace]
}

module trainRegistry 'modules/train-registry.bicep' = if (isNew || !empty(existingWorkspaceRegistryId)) {
  name: 'train-registry-${suffix}'
  scope: resourceGroup(trainRegistryParts[2], trainRegistryParts[4])
  params: {
    name: trainRegistryParts[8]
    trainPrincipalId: identities.outputs.trainPrincipalId
  }
  dependsOn: [workspace]
}

module storage 'modules/storage.bicep' = {
  name: 'storage-${suffix}'
  scope: group
  params: {
    location: location
    name: 'stapp${suffix}'
    tags: allTags
    redundancy: storageRedundancy
    preparedDays: preparedDays
    funcPrincipalId: identities.outputs.funcPrincipalId
    trainPrincipalId: identities.outputs.trainPrincipalId
    workspacePrincipalId: workspacePrincipalId
    uploadersGroupId: uploadersGroupId
  }
}

module training 'modules/training.bicep' = {
  name: 'training-${suffix}'
  scope: resourceGroup(workspaceGroup)
  params: {
    workspaceName: workspaceName
    funcPrincipalId: identities.outputs.funcPrincipalId
    storageName: storage.outputs.name
    storageGroup: groupName
    appMakesClusters: appMakesClusters
  }
}

module compute 'modules/compute.bicep' = if (makeClusters) {
  name: 'compute-${suffix}'
  scope: resourceGroup(workspaceGroup)
  params: {
    location: workspaceLocation
    tags: allTags
    workspaceName: workspaceName
    trainId: identities.outputs.trainId
    cpuName: cpuCluster
    cpuSize: preprocessSize
    gpuName: gpuCluster
    gpuSize: finetuneSize
    maxNodes: finetuneNodes * maxActiveJobs
  }
}

module datasetTopic 'modules/system-topic.bicep' = {
  name: 'dataset-topic-${suffix}'
  scope: group
  params: {
    location: location
    name: 'evgt-datasets-${suffix}'
    existingName: existingDatasetTopic
    tags: allTags
    source: storage.outputs.id
    topicType: 'Microsoft.Storage.StorageAccounts'
  }
}

module jobTopic 'modules/system-topic.bicep' = {
  name: 'job-topic-${suffix}'
  scope: resourceGroup(workspaceGroup)
  params: {
    location: workspaceLocation
    name: 'evgt-jobs-${suffix}'
    existingName: existingJobTopic
    tags: allTags
    source: workspaceId
    topicType: 'Microsoft.MachineLearningServices.Workspaces'
  }
}

module eventing 'modules/eventing.bicep' = {
  name: 'eventing-${suffix}'
  scope: group
  params: {
    location: location
    suffix: suffix
    tags: allTags
    storageName: storage.outputs.name
    datasetTopicName: datasetTopic.outputs.name
    datasetTopicPrincipalId: datasetTopic.outputs.principalId
    jobTopicPrincipalId: jobTopic.outputs.principalId
    funcPrincipalId: identities.outputs.funcPrincipalId
  }
}

// After eventing, which gives the topic its roles on the queue and the dead letters.
module jobSubscription 'modules/job-subscription.bicep' = {
  name: 'job-subscription-${suffix}'
  scope: resourceGroup(workspaceGroup)
  params: {
    suffix: suffix
    topicName: jobTopic.outputs.name
    storageId: storage.outputs.id
  }
  dependsOn: [eventing]
}

module subscriptionRoles 'modules/subscription-access.bicep' = {
  name: 'subscription-access-${suffix}'
  params: {
    access: subscriptionAccess
    groupName: groupName
    funcPrincipalId: identities.outputs.funcPrincipalId
  }
}

module budget 'modules/budget.bicep' = if (budgetAmount > 0) {
  name: 'budget-${suffix}'
  scope: resourceGroup(workspaceGroup)
  params: {
    name: 'droptune-${suffix}'
    amount: budgetAmount
    startDate: budgetStart
    contacts: split(budgetContacts, ',')
  }
  dependsOn: [group]
}

// After storage with its roles: the app takes its package and its keys from there as soon as it starts.
module app 'modules/app.bicep' = {
  name: 'app-${suffix}'
  scope: group
  params: {
    location: location
    suffix: suffix
    tags: allTags
    identityName: identities.outputs.funcName
    storageName: storage.outputs.name
    insightsName: observability.outputs.insightsName
    lifecycleEndpoint: eventing.outputs.lifecycleEndpoint
    workspaceGroup: workspaceGroup
    workspaceName: workspaceName
    workspaceLocation: workspaceLocation
    trainId: identities.outputs.trainId
    baseModel: baseModel
    gpuCluster: gpuCluster
    finetuneSize: finetuneSize
    finetuneNodes: finetuneNodes
    cpuCluster: cpuCluster
    preprocessSize: preprocessSize
    servingSize: servingSize
    servingInstances: servingInstances
    servingPricePerHour: servingPricePerHour
    maxActiveJobs: maxActiveJobs
    maxJobsPerDay: maxJobsPerDay
    maxLiveEndpoints: maxLiveEndpoints
    maxTrainingHours: maxTrainingHours
    cleanupMode: cleanupMode
    resourceTags: resourceTags
    appMakesClusters: appMakesClusters
    apiAuth: apiAuth
    authClientId: authClientId
    viewersGroupId: viewersGroupId
    operatorsGroupId: operatorsGroupId
    instanceMemoryMB: instanceMemoryMB
    maximumInstances: maximumInstances
  }
}

@description('Region of the app.')
output AZURE_LOCATION string = location

@description('Tenant.')
output AZURE_TENANT_ID string = tenant().tenantId

@description('Group of the app, where azd looks for it. The setting of that name is the group of the workspace.')
output AZURE_RESOURCE_GROUP string = groupName

@description('Name of the Function App.')
output SERVICE_APP_NAME string = app.outputs.name

@description('Address of the Function App.')
output DROPTUNE_URL string = app.outputs.url

@description('Redirect address for the app registration, with apiAuth entra.')
output DROPTUNE_REDIRECT_URL string = '${app.outputs.url}/.auth/login/aad/callback'

@description('Object id of id-func: the subject of the federated credential, with apiAuth entra.')
output DROPTUNE_PRINCIPAL_ID string = identities.outputs.funcPrincipalId

@description('Name of the storage account of the app.')
output DROPTUNE_STORAGE string = storage.outputs.name

@description('Where datasets are dropped.')
output DROPTUNE_DATASETS_URL string = storage.outputs.datasetsUrl

@description('Resource id of the topic of lifecycle events, to subscribe to.')
output DROPTUNE_EVENTS_TOPIC_ID string = eventing.outputs.lifecycleId

@description('Resource id of the Log Analytics workspace.')
output DROPTUNE_LOGS_ID string = observability.outputs.logsId

@description('Name of the workspace.')
output AZUREML_WORKSPACE string = workspaceName

@description('Group of the workspace.')
output AZUREML_RESOURCE_GROUP string = workspaceGroup

@description('The workspace in the studio.')
output AZUREML_STUDIO_URL string = 'https://ml.azure.com/?wsid=${workspaceId}&tid=${tenant().tenantId}'

@description('Resource id of id-train, for clusters that are not made here.')
output TRAINING_IDENTITY_ID string = identities.outputs.trainId
