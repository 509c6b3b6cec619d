"""The search over the front: an Optuna study, its samplers, and the choice of finalists."""
