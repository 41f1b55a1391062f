"""A stand-in of the Glad Labs task status service: three versions, their build, their data."""
