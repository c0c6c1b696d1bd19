// Tells people by mail what the workspace's group costs. It stops nothing.

@description('Name of the budget.')
param name string

@description('Amount a month, in the currency that the subscription is billed in.')
@minValue(1)
param amount int

@description('First day of a month, as in 2027-01-01. It can\'t be changed later.')
@minLength(10)
@maxLength(10)
param startDate string

@description('Who is told, at half of the amount, at all of it, and when all of it is foreseen.')
@minLength(1)
@maxLength(50)
param contacts array

resource budget 'Microsoft.Consumption/budgets@2024-08-01' = {
  name: name
  properties: {
    category: 'Cost'
    amount: amount
    timeGrain: 'Monthly'
    timePeriod: { startDate: startDate }
    notifications: {
      half: { enabled: true, operator: 'GreaterThan', threshold: 50, thresholdType: 'Actual', contactEmails: contacts }
      all: { enabled: true, operator: 'GreaterThan', threshold: 100, thresholdType: 'Actual', contactEmails: contacts }
      foreseen: { enabled: true, operator: 'GreaterThan', threshold: 100, thresholdType: 'Forecasted', contactEmails: contacts }
    }
  }
}
