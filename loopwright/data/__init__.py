"""From files to batches: pictures, transforms, order, engines, loaders."""
