"""All readers of foreign bytes that the long run knows."""

from tests.fuzz.soak.archives import ARCHIVES
from tests.fuzz.soak.dicom import DICOM
from tests.fuzz.soak.images import IMAGES
from tests.fuzz.soak.models import MODELS
from tests.fuzz.soak.network import NETWORK
from tests.fuzz.soak.plain import PLAIN

READERS = (*PLAIN, *NETWORK, *IMAGES, *ARCHIVES, *MODELS, *DICOM)
