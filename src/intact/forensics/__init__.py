"""Evidence of tampering in pixels, headers and series, by examiners, some of which are taught."""

from intact.forensics.base import Evidence, Examiner, Finding, Severity
from intact.forensics.block_dct import BlockDCT
from intact.forensics.block_pca import BlockPCA
from intact.forensics.block_zernike import BlockZernike
from intact.forensics.copied_noise import CopiedNoise
from intact.forensics.dct_dwt import DCTDWT
from intact.forensics.double_quantisation import DoubleQuantisation
from intact.forensics.ela import ELA
from intact.forensics.histogram_gaps import HistogramGaps
from intact.forensics.jpeg_ghost import JPEGGhost
from intact.forensics.jpeg_grid import JPEGGrid
from intact.forensics.keypoints import Keypoints
from intact.forensics.learned.backbone import Backbone
from intact.forensics.learned.base import LearnedExaminer
from intact.forensics.learned.btd import BackInTimeDiffusion
from intact.forensics.learned.cascade import Cascade
from intact.forensics.learned.constrained_cnn import ConstrainedCNN
from intact.forensics.learned.dct_stream import DCTStreamExaminer
from intact.forensics.learned.dfst_unet import DFSTUNet
from intact.forensics.learned.ela_cnn import ELACNN
from intact.forensics.learned.faster_rcnn import FasterRCNN
from intact.forensics.learned.fusion import Fusion
from intact.forensics.learned.generated import Generated
from intact.forensics.learned.mantra import ManTra
from intact.forensics.learned.mscscc_net import MSCSCCNet
from intact.forensics.learned.patch_channel import PatchChannel
from intact.forensics.learned.pscc import PSCCNet
from intact.forensics.learned.rgb_n import RGBN
from intact.forensics.learned.sd_net import SDNet
from intact.forensics.learned.sfta_net import SFTANet
from intact.forensics.learned.svm import SVM
from intact.forensics.noise_level import NoiseLevel
from intact.forensics.patchmatch import PatchMatch
from intact.forensics.periodic_pattern import PeriodicPattern
from intact.forensics.resampling import Resampling
from intact.forensics.residual_correlation import ResidualCorrelation
from intact.forensics.sensor_pattern import SensorPattern

METHODS: dict[str, type[Examiner]] = {
    "block_dct": BlockDCT,
    "block_pca": BlockPCA,
    "block_zernike": BlockZernike,
    "copied_noise": CopiedNoise,
    "dct_dwt": DCTDWT,
    "double_quantisation": DoubleQuantisation,
    "ela": ELA,
    "histogram_gaps": HistogramGaps,
    "jpeg_ghost": JPEGGhost,
    "jpeg_grid": JPEGGrid,
    "keypoints": Keypoints,
    "noise_level": NoiseLevel,
    "patchmatch": PatchMatch,
    "periodic_pattern": PeriodicPattern,
    "resampling": Resampling,
    "residual_correlation": ResidualCorrelation,
    "sensor_pattern": SensorPattern,
}

# These say nothing before they were taught: `intact teach`.
LEARNED: dict[str, type[LearnedExaminer]] = {
    "backbone": Backbone,
    "btd": BackInTimeDiffusion,
    "cascade": Cascade,
    "constrained_cnn": ConstrainedCNN,
    "dct_stream": DCTStreamExaminer,
    "dfst_unet": DFSTUNet,
    "ela_cnn": ELACNN,
    "faster_rcnn": FasterRCNN,
    "fusion": Fusion,
    "generated": Generated,
    "mantra": ManTra,
    "mscscc_net": MSCSCCNet,
    "patch_channel": PatchChannel,
    "pscc": PSCCNet,
    "rgb_n": RGBN,
    "sd_net": SDNet,
    "sfta_net": SFTANet,
    "svm": SVM,
}

__all__ = ["LEARNED", "METHODS", "Evidence", "Examiner", "Finding", "LearnedExaminer", "Severity"]
