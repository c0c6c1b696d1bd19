// Reads what has to be known of a workspace that is there already.

@description('Name of the workspace. It needs a system identity.')
param name string

resource workspace 'Microsoft.MachineLearningServices/workspaces@2025-09-01' existing = {
  name: name
}

@description('Name of the workspace.')
output name string = workspace.name

@description('Resource id of the workspace.')
output id string = workspace.id

@description('Region of the workspace.')
output location string = workspace.location

@description('Object id of the system identity of the workspace.')
output principalId string = workspace.identity.principalId
