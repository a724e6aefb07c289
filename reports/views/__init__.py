"""Views of a single run, search, ablation or localization: terminal output and Markdown pages."""
