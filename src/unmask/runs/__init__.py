"""A run folder: its identity, its config, its weights, its predictions.

.hydra/config.yaml           all that the run is
checkpoints/best.ckpt        the weights that validation chose; last.ckpt, what a killed run goes on from
predictions-<split>.parquet  every scored frame or clip; the protocol in the file's metadata
metrics.json                 written last: its presence says that the run is finished
report.html
"""
