// A workspace of our own, with what Azure ML wants beside one. Its system identity gets its roles on them by itself.

@description('Region.')
param location string

@description('Ends the names of all resources of this installation.')
param suffix string

@description('Tags of all resources.')
param tags object

@description('Name of the default storage account.')
@minLength(3)
@maxLength(24)
param storageName string

@description('Name of the container registry.')
@minLength(5)
@maxLength(50)
param registryName string

@description('How often, and where, the default storage account keeps everything.')
param redundancy string

@description('Resource id of Application Insights.')
param insightsId string

resource aml 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: storageName
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: { name: redundancy }
  properties: {
    accessTier: 'Hot'
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: 'Enabled'
    networkAcls: { bypass: 'AzureServices', defaultAction: 'Allow' }
    isHnsEnabled: false
  }
}

resource registry 'Microsoft.ContainerRegistry/registries@2025-04-01' = {
  name: registryName
  location: location
  tags: tags
  sku: { name: 'Basic' }
  properties: {
    adminUserEnabled: false
    anonymousPullEnabled: false
    publicNetworkAccess: 'Enabled'
  }
}

// Without purge protection: with it, an installation that was taken down could not come back under its name for days.
resource vault 'Microsoft.KeyVault/vaults@2024-11-01' = {
  name: 'kv-${suffix}'
  location: location
  tags: tags
  properties: {
    tenantId: tenant().tenantId
    sku: { family: 'A', name: 'standard' }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 7
    publicNetworkAccess: 'Enabled'
    networkAcls: { bypass: 'AzureServices', defaultAction: 'Allow' }
  }
}

resource workspace 'Microsoft.MachineLearningServices/workspaces@2025-09-01' = {
  name: 'mlw-${suffix}'
  location: location
  tags: tags
  kind: 'Default'
  sku: { name: 'Basic', tier: 'Basic' }
  identity: { type: 'SystemAssigned' }
  properties: {
    friendlyName: 'Droptune'
    storageAccount: aml.id
    keyVault: vault.id
    applicationInsights: insightsId
    containerRegistry: registry.id
    systemDatastoresAuthMode: 'Identity'
    publicNetworkAccess: 'Enabled'
    v1LegacyMode: false
  }
}

@description('Name of the workspace.')
output name string = workspace.name

@description('Resource id of the workspace.')
output id string = workspace.id

@description('Region of the workspace.')
output location string = workspace.location

@description('Object id of the system identity of the workspace.')
output principalId string = workspace.identity.principalId
