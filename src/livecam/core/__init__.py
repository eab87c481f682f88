"""Values that everything else is built of; no network is run here."""
