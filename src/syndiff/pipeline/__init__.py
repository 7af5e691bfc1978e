"""What the verbs do, across all rooms: the main job, its single stages, adaptation."""
