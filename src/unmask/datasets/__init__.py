"""The supported data sets. Most files here define the folder layout and the protocols of one data set."""
