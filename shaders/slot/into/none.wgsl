// No weight is written yet.
