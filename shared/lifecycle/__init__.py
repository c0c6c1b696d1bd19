"""The rules of a run's life, pure: functions of plain data that know no time, storage or Azure."""
