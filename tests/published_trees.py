"""What was published of the twelve trees: category, tissue, roots and types of each, and one of them line by line."""

PUBLISHED = {
    "brain_core": ("brain", "brain", 6, 8),
    "immune_core": ("immune", "pan-tissue", 6, 13),
    "solid_tissue_core": ("solid_tissue", "pan-solid-tissue", 4, 8),
    "breast_tme": ("tme", "breast", 5, 23),
    "colon_tme": ("tme", "colon", 5, 23),
    "kidney_tme": ("tme", "kidney", 5, 25),
    "liver_tme": ("tme", "liver", 5, 22),
    "lung_tme": ("tme", "lung", 5, 23),
    "pancreas_tme": ("tme", "pancreas", 5, 23),
    "skin_tme": ("tme", "skin", 5, 22),
    "tme_core": ("tme", "pan-solid-tissue", 5, 22),
    "tonsil_tme": ("tme", "tonsil", 5, 22),
}
COLON = """\
- Intestinal epithelial (+6, -4, children=3)
  - Absorptive-like (+5, -1, children=0)
  - Goblet-like (+5, -1, children=0)
  - Stem/TA-like (+5, -1, children=0)
- Fibroblast (+5, -4, children=0)
- Endothelial (+5, -3, children=1)
  - Capillary endothelial (+5, -2, children=0)
- Mural (+5, -2, children=1)
  - Pericyte (+5, -6, children=0)
- Immune (+5, -2, children=6)
  - T cell (+5, -2, children=3)
    - CD4 T cell (+5, -2, children=0)
    - CD8 T cell (+5, -1, children=0)
    - Treg (+5, -2, children=0)
  - B cell (+5, -2, children=1)
    - Plasma cell (+5, -2, children=0)
  - NK cell (+5, -2, children=0)
  - Myeloid (+5, -2, children=3)
    - Macrophage (+5, -2, children=0)
    - Monocyte (+5, -2, children=0)
    - Dendritic cell (+5, -2, children=0)
  - Mast cell (+5, -2, children=0)
  - Neutrophil (+5, -2, children=0)
"""
