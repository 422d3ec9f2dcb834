"""What a segment is and what made it, as codes that other software understands.

Source: DICOM PS3.16, context groups 7150 (categories), 7151 (types) and 7162 (algorithms).
"""

from __future__ import annotations

import re

from pydicom.sr.coding import Code

_ORGAN = Code("91723000", "SCT", "Anatomical Structure")
_ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
_OBJECT = Code("260787004", "SCT", "Physical object")
_TISSUE = Code("85756007", "SCT", "Tissue")
_BODY = Code("38266002", "SCT", "Entire body")
_MARKER = Code("111175", "DCM", "Other Marker")
_NEOPLASM = Code("108369006", "SCT", "Neoplasm")

# Category and type by a word of the label, in the singular. The first row that the label holds
# decides: a brain tumour is a tumour.
_MEANINGS = {
    "lesion": (_ABNORMAL, Code("52988006", "SCT", "Lesion")),
    "nodule": (_ABNORMAL, Code("27925004", "SCT", "Nodule")),
    "mass": (_ABNORMAL, Code("4147007", "SCT", "Mass")),
    "tumour": (_ABNORMAL, _NEOPLASM),
    "tumor": (_ABNORMAL, _NEOPLASM),
    "text": (_OBJECT, _MARKER),
    "marker": (_OBJECT, _MARKER),
    "vessel": (_ORGAN, Code("59820001", "SCT", "Blood Vessel")),
    "lung": (_ORGAN, Code("39607008", "SCT", "Lung")),
    "brain": (_ORGAN, Code("12738006", "SCT", "Brain")),
    "heart": (_ORGAN, Code("80891009", "SCT", "Heart")),
    "head": (_ORGAN, Code("69536005", "SCT", "Head")),
    "body": (_ORGAN, _BODY),
    "whole": (_ORGAN, _BODY),
}

# By `Segmenter.family`. The group has no code for graph cuts, which weigh each voxel against its
# neighbours.
FAMILIES = {
    "threshold": Code("123105", "DCM", "Histogram Analysis"),
    "clustering": Code("123107", "DCM", "Cluster Analysis"),
    "region": Code("123101", "DCM", "Neighborhood Analysis"),
    "graph": Code("123101", "DCM", "Neighborhood Analysis"),
    "contour": Code("123111", "DCM", "Deformable Models"),
    "network": Code("123110", "DCM", "Artificial Intelligence"),
}


def meaning(label: str) -> tuple[Code, Code]:
    """Category and type of a segment by the words of its label; a tissue where they say nothing.

    Words count whole, in either case and also in the plural: "Left lung", "vessels".
    """
    words = re.findall("[a-z]+", label.lower())
    for word, codes in _MEANINGS.items():
        if word in words or f"{word}s" in words:
            return codes
    return _TISSUE, _TISSUE
