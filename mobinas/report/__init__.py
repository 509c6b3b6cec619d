"""Pictures and the report page: pure data in, matplotlib figures and one self-contained HTML file out."""
