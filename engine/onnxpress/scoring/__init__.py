"""Files scored row by row, in parts that are committed one after the other, so that nothing is lost or done twice."""
