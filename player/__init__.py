"""The way out: media prepared into frame packs, the plan rendered to pixels, the pixels sent to a panel."""
