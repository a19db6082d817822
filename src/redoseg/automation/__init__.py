"""The verb auto: from a folder of photos to a model, masks, cut-outs and a verdict."""
