"""Self-contained pages: of all figures, and of one results folder."""

from analysis.report.page import Picture as Picture
from analysis.report.pages import figures_page as figures_page
from analysis.report.pages import results_page as results_page
from analysis.report.provenance import provenance as provenance
