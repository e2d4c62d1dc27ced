"""What services keep: one interface (`interfaces`), in SQLite or in Redis. `opening.open_storage` opens the one set."""
