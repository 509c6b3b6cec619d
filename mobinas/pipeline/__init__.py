"""The main job, one file a step; every step reads artefacts of the run folder and leaves one."""
