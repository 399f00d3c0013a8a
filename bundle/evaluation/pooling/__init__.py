"""From bags of regions to one vector a patient, by prototypes of the training patients."""
