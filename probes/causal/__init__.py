"""Whether a model depends on a direction: pushing along it and erasing it, beside null directions.

``evidence.direction_evidence`` is where to begin; ``probes.steering`` makes the interventions.
"""
