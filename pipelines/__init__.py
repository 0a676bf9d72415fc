"""The jobs: ingest, train, predict, evaluate and report tie the cube and the networks together."""
