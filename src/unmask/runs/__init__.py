"""A run folder: its ID, config, weights and predictions.

.hydra/config.yaml           the complete config of the run
checkpoints/best.ckpt        the weights selected by validation; last.ckpt is the checkpoint to resume from
predictions-<split>.parquet  every scored frame or clip; the file's metadata holds the protocol
metrics.json                 written last; marks the run as finished
report.html                  the report, if it was written
"""
