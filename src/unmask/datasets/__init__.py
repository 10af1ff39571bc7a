"""The supported data sets: each file defines the layout and the protocols of one data set."""
