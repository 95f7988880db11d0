"""The mathematics of the models: functions and small modules over plain tensors."""
