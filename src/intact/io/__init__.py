"""Files in and out at full depth: DICOM, NIfTI, PNG, TIFF, JPEG, NPY, and archives of them."""

from intact.io.dicom import read_dicom
from intact.io.dicom_write import write_dicom, write_series
from intact.io.discover import Rejected, Unit, index, read_some, read_unit, stems
from intact.io.files import read, write
from intact.io.nifti import read_nifti, write_nifti
from intact.io.source import Source

__all__ = [
    "Rejected",
    "Source",
    "Unit",
    "index",
    "read",
    "read_dicom",
    "read_nifti",
    "read_some",
    "read_unit",
    "stems",
    "write",
    "write_dicom",
    "write_nifti",
    "write_series",
]
