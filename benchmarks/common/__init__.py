"""What every benchmark needs: workers, rounds, goals, tables."""
