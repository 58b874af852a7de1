"""Everything that speaks with Label Studio: client, labelling configs, tasks, annotations."""
