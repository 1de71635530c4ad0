"""`lasttoken serve`: a trained classifier behind HTTP, and a page to try it on.

    request -> access -> body -> service -> queue -> batcher -> model
               who may    how     tokens     bounded  one thread,
               ask        much    by one     by       batches by
                                  thread     texts    token budget

From `service` on nothing knows of HTTP. What a text gets does not depend on the batch that it rides
in (`model.attention`), so batches are made of whatever waits.
"""
