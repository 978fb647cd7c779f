from chainrule.passes.base import parse_pipeline
from chainrule.passes.fold import FoldConstants

parse_pipeline("mine", "fold-constants{limit=3}", [FoldConstants])
