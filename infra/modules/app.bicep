// The Function App on Flex Consumption: scales to zero, has no key of anything, and takes its package from storage.

@description('Region.')
param location string

@description('Ends the names of all resources of this installation.')
param suffix string

@description('Tags of all resources.')
param tags object

@description('Name of the identity of the Function App.')
param identityName string

@description('Name of the storage account of the app.')
param storageName string

@description('Name of Application Insights.')
param insightsName string

@description('Where the app sends lifecycle events.')
param lifecycleEndpoint string

@description('Resource group of the workspace.')
param workspaceGroup string

@description('Name of the workspace.')
param workspaceName string

@description('Region of the workspace.')
param workspaceLocation string

@description('Resource id of id-train.')
param trainId string

@description('Base model when finetune.yaml names none.')
param baseModel string

@description('Name of the cluster that trains.')
param gpuCluster string

@description('VM size of the cluster that trains.')
param finetuneSize string

@description('Nodes of one job.')
param finetuneNodes int

@description('Name of the cluster that prepares.')
param cpuCluster string

@description('VM size of the cluster that prepares.')
param preprocessSize string

@description('VM size of a deployment.')
param servingSize string

@description('Instances of a deployment.')
param servingInstances int

@description('Price of an instance of a deployment an hour.')
param servingPricePerHour string

@description('Jobs that train at once.')
param maxActiveJobs int

@description('Jobs that are started in any 24 hours.')
param maxJobsPerDay int

@description('Lines that serve, or train for that, at once.')
param maxLiveEndpoints int

@description('Hours after which a job is cancelled, from when its fine-tune step runs.')
param maxTrainingHours int

@description('What becomes of endpoints that nobody calls.')
param cleanupMode string

@description('Tags for all that the app makes.')
param resourceTags string

@description('The app may make clusters that are missing.')
param appMakesClusters bool

@description('Who may call: holders of a function key, or members of two Entra groups.')
@allowed(['key', 'entra'])
param apiAuth string

@description('Client id of the app registration; empty with function keys.')
param authClientId string

@description('Object id of the Entra group that may look.')
param viewersGroupId string

@description('Object id of the Entra group that may also act.')
param operatorsGroupId string

@description('Memory of an instance; its CPU goes with it.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int

@description('Instances at most, of each queue, each timer, and of HTTP.')
param maximumInstances int

var isEntra = apiAuth == 'entra'
var viewers = empty(viewersGroupId) ? [] : [viewersGroupId]
var operators = empty(operatorsGroupId) ? [] : [operatorsGroupId]

resource idFunc 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
}

resource app 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: storageName
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

resource plan 'Microsoft.Web/serverfarms@2024-11-01' = {
  name: 'plan-${suffix}'
  location: location
  tags: tags
  kind: 'functionapp'
  sku: { name: 'FC1', tier: 'FlexConsumption' }
  properties: { reserved: true }
}

resource site 'Microsoft.Web/sites@2024-11-01' = {
  name: 'func-${suffix}'
  location: location
  // azd finds the app by this tag.
  tags: union(tags, { 'azd-service-name': 'app' })
  kind: 'functionapp,linux'
  identity: { type: 'UserAssigned', userAssignedIdentities: { '${idFunc.id}': {} } }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    publicNetworkAccess: 'Enabled'
    keyVaultReferenceIdentity: idFunc.id
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${app.properties.primaryEndpoints.blob}app-package'
          authentication: { type: 'UserAssignedIdentity', userAssignedIdentityResourceId: idFunc.id }
        }
      }
      runtime: { name: 'python', version: '3.13' }
      scaleAndConcurrency: { instanceMemoryMB: instanceMemoryMB, maximumInstanceCount: maximumInstances }
    }
    siteConfig: { minTlsVersion: '1.2', http20Enabled: true }
  }
}

resource scm 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: site
  name: 'scm'
  properties: { allow: false }
}

resource ftp 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: site
  name: 'ftp'
  properties: { allow: false }
}

// What is not here keeps the default of shared/settings.py; left-to-defaults.json says why that is right.
resource settings 'Microsoft.Web/sites/config@2024-11-01' = {
  parent: site
  name: 'appsettings'
  properties: {
    AzureWebJobsStorage__credential: 'managedidentity'
    AzureWebJobsStorage__clientId: idFunc.properties.clientId
    AzureWebJobsStorage__blobServiceUri: app.properties.primaryEndpoints.blob
    AzureWebJobsStorage__queueServiceUri: app.properties.primaryEndpoints.queue
    AzureWebJobsStorage__tableServiceUri: app.properties.primaryEndpoints.table
    DROPTUNE_STORAGE__credential: 'managedidentity'
    DROPTUNE_STORAGE__clientId: idFunc.properties.clientId
    DROPTUNE_STORAGE__blobServiceUri: app.properties.primaryEndpoints.blob
    DROPTUNE_STORAGE__queueServiceUri: app.properties.primaryEndpoints.queue

    AZURE_CLIENT_ID: idFunc.properties.clientId
    // No other way to log in is tried.
    AZURE_TOKEN_CREDENTIALS: 'ManagedIdentityCredential'
    AZURE_SUBSCRIPTION_ID: subscription().subscriptionId
    AZURE_RESOURCE_GROUP: workspaceGroup
    AZUREML_WORKSPACE: workspaceName
    AZURE_LOCATION: workspaceLocation
    TRAINING_IDENTITY_ID: trainId
    EVENTS_TOPIC_ENDPOINT: lifecycleEndpoint

    SWEEP_SCHEDULE: '0 */5 * * * *'
    CLEANUP_SCHEDULE: '0 */15 * * * *'

    BASE_MODEL: baseModel
    FINETUNE_COMPUTE: gpuCluster
    FINETUNE_SIZE: finetuneSize
    FINETUNE_NODES: string(finetuneNodes)
    PREPROCESS_COMPUTE: cpuCluster
    PREPROCESS_SIZE: preprocessSize
    CREATE_CLUSTERS: appMakesClusters ? 'true' : 'false'
    SERVING_SIZE: servingSize
    SERVING_INSTANCES: string(servingInstances)
    SERVING_PRICE_PER_HOUR: servingPricePerHour
    MAX_ACTIVE_JOBS: string(maxActiveJobs)
    MAX_JOBS_PER_DAY: string(maxJobsPerDay)
    MAX_LIVE_ENDPOINTS: string(maxLiveEndpoints)
    MAX_TRAINING_HOURS: string(maxTrainingHours)
    CLEANUP_MODE: cleanupMode
    RESOURCE_TAGS: resourceTags

    API_AUTH: apiAuth
    API_VIEWERS: viewersGroupId
    API_OPERATORS: operatorsGroupId
    // In place of a secret, the login service proves itself as id-func. Both are idle with function keys.
    OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID: idFunc.properties.clientId
    WEBSITE_AUTH_AAD_ALLOWED_TENANTS: tenant().tenantId

    // It says where telemetry goes, and is no secret: only identities may write there.
    APPLICATIONINSIGHTS_CONNECTION_STRING: insights.properties.ConnectionString
    APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${idFunc.properties.clientId};Authorization=AAD'

    HF_HUB_DISABLE_TELEMETRY: '1'
    HF_UPDATE_DOWNLOAD_COUNTS: '0'
  }
}

// It is there with function keys, too, and switched off: going back from Entra must take the login away.
resource login 'Microsoft.Web/sites/config@2024-11-01' = {
  parent: site
  name: 'authsettingsV2'
  properties: {
    platform: { enabled: isEntra, runtimeVersion: '~1' }
    globalValidation: {
      requireAuthentication: isEntra
      unauthenticatedClientAction: isEntra ? 'RedirectToLoginPage' : 'AllowAnonymous'
      redirectToProvider: 'azureactivedirectory'
      excludedPaths: ['/api/health']
    }
    httpSettings: { requireHttps: true }
    login: { tokenStore: { enabled: false } }
    identityProviders: {
      azureActiveDirectory: {
        enabled: isEntra
        registration: {
          openIdIssuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
          clientId: authClientId
          clientSecretSettingName: 'OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID'
        }
        validation: {
          allowedAudiences: isEntra ? [authClientId, 'api://${authClientId}'] : []
          defaultAuthorizationPolicy: { allowedPrincipals: { groups: concat(viewers, operators) } }
        }
      }
    }
  }
  dependsOn: [settings]
}

@description('Name of the Function App.')
output name string = site.name

@description('Address of the Function App.')
output url string = 'https://${site.properties.defaultHostName}'
