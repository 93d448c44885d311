"""Results on disk: depth arrays, pictures, point clouds, reports."""
