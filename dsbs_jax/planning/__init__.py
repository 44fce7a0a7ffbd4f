"""Plans of runs on TPU pods, from programs compiled for the pod without a TPU."""
