"""Simulations that exist: images, stations and vectors in files, and the parameters that made
them.
"""

from dataclasses import replace

from qexp.kinds.images import KIND as IMAGES

KIND = replace(
    IMAGES,
    documents="qexp.kinds.simulations.spec:DOCUMENTS",
    data="qexp.kinds.simulations.experiment:DATA",
    simulate=None,
    new="qexp.kinds.simulations.new",
    arrays="qexp.kinds.simulations.arrays",
)
