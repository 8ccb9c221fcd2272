"""Run the stages of dvc.yaml from a flow: which have to run, where, and with which parameters."""
