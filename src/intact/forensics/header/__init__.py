"""Rules for the headers of DICOM series, by what they compare."""
