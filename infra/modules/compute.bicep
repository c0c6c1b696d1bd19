// The clusters. They cost nothing while they have no node, and nothing but id-train can be on them.

@description('Region of the workspace: clusters live there.')
param location string

@description('Tags of all resources.')
param tags object

@description('Name of the workspace.')
param workspaceName string

@description('Resource id of id-train.')
param trainId string

@description('Name of the cluster that prepares.')
param cpuName string

@description('VM size of the cluster that prepares.')
param cpuSize string

@description('Name of the cluster that trains.')
param gpuName string

@description('VM size of the cluster that trains.')
param gpuSize string

@description('Nodes of one job, times the jobs that may run at once.')
@minValue(1)
param maxNodes int

// An idle node bills until it goes.
var idle = 'PT2M'

resource workspace 'Microsoft.MachineLearningServices/workspaces@2025-09-01' existing = {
  name: workspaceName
}

// The steps of a pipeline component can't be given an identity: they take the first one of their cluster.
resource cpu 'Microsoft.MachineLearningServices/workspaces/computes@2025-09-01' = {
  parent: workspace
  name: cpuName
  location: location
  tags: tags
  identity: { type: 'UserAssigned', userAssignedIdentities: { '${trainId}': {} } }
  properties: {
    computeType: 'AmlCompute'
    disableLocalAuth: true
    properties: {
      vmSize: cpuSize
      vmPriority: 'Dedicated'
      osType: 'Linux'
      enableNodePublicIp: true
      remoteLoginPortPublicAccess: 'Disabled'
      scaleSettings: { minNodeCount: 0, maxNodeCount: maxNodes, nodeIdleTimeBeforeScaleDown: idle }
    }
  }
}

resource gpu 'Microsoft.MachineLearningServices/workspaces/computes@2025-09-01' = {
  parent: workspace
  name: gpuName
  location: location
  tags: tags
  identity: { type: 'UserAssigned', userAssignedIdentities: { '${trainId}': {} } }
  properties: {
    computeType: 'AmlCompute'
    disableLocalAuth: true
    properties: {
      vmSize: gpuSize
      vmPriority: 'Dedicated'
      osType: 'Linux'
      enableNodePublicIp: true
      remoteLoginPortPublicAccess: 'Disabled'
      scaleSettings: { minNodeCount: 0, maxNodeCount: maxNodes, nodeIdleTimeBeforeScaleDown: idle }
    }
  }
}
