"""Engines that compute a student's answers: JAX, and CTranslate2 on CPUs."""
