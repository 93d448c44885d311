"""How fast things are: ``python -m edfv_ros.bench``. One module for each group of rows."""
